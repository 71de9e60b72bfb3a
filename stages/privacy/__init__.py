"""Private data: where it stands in a text, and the text with placeholders in its place.

scan finds candidates in UTF-8 bytes, one pass for all types; addresses, payments, phones and credentials check them;
masking resolves overlaps and writes the new text; stage is what a recipe names.
"""
