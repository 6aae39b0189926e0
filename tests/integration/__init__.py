"""Real databases, and several processes that write to them at the same instant."""
