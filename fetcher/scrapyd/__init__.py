"""Jobs on one Scrapyd or several: scheduled, followed to their ends, and their reports gathered."""
