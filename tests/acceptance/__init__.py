"""What real workers, in processes of their own, make of workflows."""
