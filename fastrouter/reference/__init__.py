"""``--help`` and the manual pages, made from the declarations of the options."""
