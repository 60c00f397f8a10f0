"""The studies behind the documents' numbers: one folder each, found by its name.

A folder has `config.py` (what is done), `__init__.py` (`STUDY`: how it is run and where its tables
stand), and what serves it alone. `experiments/reproduce.py` runs studies and writes their pages.
Records are in results/STUDY.
"""
