"""Connections, tables, statements and timestamps."""
