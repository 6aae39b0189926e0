"""What is done for the site, not for one user: finding what was lost, deleting what is old."""
