"""The server: the search page, the page for ratings, and their HTTP API."""
