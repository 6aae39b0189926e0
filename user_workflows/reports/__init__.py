"""Reports on a tree, for REST, pages and terminal alike."""
