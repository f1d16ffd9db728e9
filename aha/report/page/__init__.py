"""The report page: runs in, one static file out.

    read -> lineage, rollouts, answers -> gather -> curves, tables -> draw, sections -> html

Holds:           reading of run folders that may be torn, thinning, SVG, the page, its script and style.
Holds not:       a server, a template engine, anything fetched.
Must stay true:  what a model wrote is text in the page and nothing else (docs: html.py); at most 10 MB.
"""

from aha.report.page.html import report

__all__ = ["report"]
