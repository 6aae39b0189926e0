"""The measures; one module for each kind of work, each with a ``run``."""
