"""Staging and warming beside their peers, against servers that cost almost nothing."""
