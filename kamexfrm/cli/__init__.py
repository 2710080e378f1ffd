"""The operator's command, ``kamexfrm``: everything around setkey for people who run IPsec."""
