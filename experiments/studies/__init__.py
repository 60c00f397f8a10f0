"""The studies behind the numbers in the documentation, one folder each.

A folder has `config.py` (the settings), `__init__.py` (`STUDY`: how it runs and where its tables
are), and modules used only by the study. `experiments/reproduce.py` runs studies and writes their
pages. Records are in results/STUDY.
"""
