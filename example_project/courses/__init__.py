"""The site's courses: reading, exporting and importing Open Learning XML (OLX)."""
