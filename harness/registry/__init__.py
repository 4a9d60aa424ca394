"""Plugins and the catalog of what they offer.

Entry points and references enter; specs with resolved parameters leave."""
