"""Task queues whose workflows are tracked."""
