"""The commands of `vsearch`, one file each: they parse, call and print."""
