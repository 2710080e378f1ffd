"""setkey(8): its language, its output and the command.

``parser`` turns a script into ``statements``, ``dump_sa`` and ``dump_sp`` print the databases,
``messages`` words the errors.
"""
