"""Files that survive: SQLite, locks, and writing beside a place before it is taken."""
