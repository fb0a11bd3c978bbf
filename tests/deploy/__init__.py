"""Tests of what is deployed: the chart, the image build, the observability files."""
