"""The paper's tables (He et al. 2017), run and printed beside its numbers.

The way: `tables.load_table` -> `reproduce.reproduce` -> `report.format_results`.
"""
