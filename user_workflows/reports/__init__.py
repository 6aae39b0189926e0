"""What is read from a tree, for REST, pages and terminal alike."""
