"""Suite files, their records, and the cells that they make; installed, the suites themselves lie here, too."""
