"""Jobs of the site rather than of one user: repairing lost workflows, deleting old ones."""
