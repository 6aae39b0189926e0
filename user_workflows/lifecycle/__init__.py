"""What happens to stored nodes. Knows no queue."""
