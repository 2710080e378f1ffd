"""setkey(8): its language, its output and the command.

The command:

* ``command``: the modes -D, -F, -x and files; ``script``: -f, -e and -c.
* ``arguments``: the options of the command line.
* ``execute``: carries out statements on the engine; ``reporter`` counts and prints errors.
* ``monitor``: -x; ``verbose``: -v and -H; ``binary_files``: FILE operands.

The language:

* ``statements``: one type for each command.
* ``parser``: a script as statements; ``fast_parser``: plain one-line spdadd and add.
* ``lexer``: the words; ``hosts``: addresses, ports and upper protocols.
* ``sa_commands``: add, update, get, delete...; ``sa_options``: -m -u -lh -natt...;
  ``sa_algorithms``: -E -A -C and keys.
* ``spd_commands``: spdadd, spddelete...; the text after -P is read by ``kamexfrm.model.language``.

The output:

* ``dump``: -D and -DP as a whole; ``dump_sa`` and ``dump_sp``: one entry, as text or JSON;
  ``dates``: times in them.
* ``message_text`` and ``hexdump``: PF_KEY messages for -v, -x and -H.
* ``errors``: texts of errors and warnings; ``error_hints``: the lines after them.
"""
