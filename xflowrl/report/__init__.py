"""`python -m xflowrl.report RUN_OR_SWEEP...`: many run folders as one page, figures and a table."""

from xflowrl.report.csv_file import write_csv

__all__ = ["write_csv"]
