"""What programs import: IPsec of a network namespace as Python objects.

Floor 8. ``import kamexfrm`` gives the names of this package.
"""
