"""The stored nested set: bounds, locks, managers, reading and inserting. Knows no lifecycle."""
