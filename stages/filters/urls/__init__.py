"""Block lists, allow lists and word lists on the URL of a document."""

from stages.filters.urls.stage import UrlFilter, UrlFilterConfig

__all__ = ["UrlFilter", "UrlFilterConfig"]
