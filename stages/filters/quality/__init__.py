"""Quality by models: a fastText classifier trained by the recipe, or any sequence classifier of Hugging Face."""
