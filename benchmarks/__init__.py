"""One script a table of the READMEs. Each writes a file to results/; `tables` writes the tables from those files."""
