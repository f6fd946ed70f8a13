"""Crawls in processes of their own, and who starts, watches and stops them.

The parent writes a job to a child's standard input, as one line of JSON, and keeps that open: its
end is the sign to stop, whether it was closed or the parent has died. What happens in the child
comes back as lines of JSON on its standard output.

Who looks after them in a program (:mod:`crew`) shows what they tell (:mod:`show`); in a crawl
(:mod:`supervisor`) it becomes what the crawl has done itself (:mod:`replay`), and one report.
"""
