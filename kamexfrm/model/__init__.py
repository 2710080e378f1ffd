"""KAME's vocabulary: levels, policies, requests, associations, knobs and the policy language.

Pure data and pure functions. Import the chapters: ``policy``, ``association``, ``knobs``,
``language``.
"""
