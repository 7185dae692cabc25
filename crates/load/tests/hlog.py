"""Reads logs of histograms with HdrHistogram's Python port, which shares no code with ours, and prints what it
finds: for each log and for all of them merged, by tag."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader


def empty():
    return HdrHistogram(1, 3_600_000_000, 3)


def add(sums, tag, histogram, first_ms):
    entry = sums.setdefault(tag, {"histogram": empty(), "intervals": 0, "first_ms": first_ms})
    entry["histogram"].add(histogram)
    entry["intervals"] += 1


def described(sums):
    result = {}
    for tag, entry in sums.items():
        histogram = entry["histogram"]
        found = {name: histogram.get_value_at_percentile(at) for name, at in PERCENTILES}
        found["max"] = histogram.get_max_value()
        found["count"] = histogram.get_total_count()
        found["intervals"] = entry["intervals"]
        found["first_ms"] = round(entry["first_ms"])
        result[tag] = found
    return result


PERCENTILES = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9)]

merged, each = {}, []
for path in sys.argv[1:]:
    reader, sums = HistogramLogReader(path, empty()), {}
    while True:
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            break
        for into in (sums, merged):
            add(into, histogram.get_tag(), histogram, histogram.get_start_time_stamp())
    reader.close()
    each.append(described(sums))
json.dump({"each": each, "merged": described(merged)}, sys.stdout)
