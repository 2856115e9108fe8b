"""Renders or lints a chart by Helm's engine: one request in JSON on standard input, one answer on standard output."""

import json
import sys

import helm_python
from helm_python import chart


def render(request):
    with chart.Chart.load(request["chart"]) as loaded:
        return {
            "templates": loaded.render(
                request["values"], name=request["name"], namespace=request["namespace"]
            )
        }


def lint(request):
    report = chart.lint(request["chart"], request["values"], strict=True)
    return {"problems": report["errors"]}


request = json.load(sys.stdin)
try:
    answer = {"render": render, "lint": lint}[request["action"]](request)
except helm_python.HelmError as error:
    answer = {"problems": [str(error)]}
json.dump(answer, sys.stdout)
