"""What setkey says of itself: its version, its usage, and what each option does."""

import kamexfrm

VERSION = f"setkey @(#) kamexfrm {kamexfrm.__version__}"

USAGE = """\
usage: setkey [-Npv] [--json] [--nokeys] file ...
       setkey [-Hnvrk] [--strict] -c
       setkey [-Hnvrk] [--strict] [--as-read] -f filename
       setkey [-Hnvrk] [--strict] [--as-read] -e text
       setkey [-HPalpvNrk] [--json] [--nokeys] [--no-wrap] -D
       setkey [-HPv] -F
       setkey [-H] [--json] -x[x]
       setkey -h | --help | -V | --version
       All modes take --netns NAME|PATH|PID.
"""

HELP = f"""\
{USAGE}
Read and write the SAs (SAD) and policies (SPD) of this network namespace, in the language
that setkey(8) describes.

modes:
  -f FILE           carry out the statements of a file; - is the standard input
  -c                carry out those of the standard input
  -e TEXT           carry out those of the command line
  FILE ...          print the PF_KEY messages that files hold
  -D                print all SAs; with -P all policies
  -F                delete all SAs; with -P all policies
  -x                print what happens, message by message, until a signal; -xx with seconds
                    since the epoch
  -h, -?            print the usage, with status 1
  --help            print this
  -V, --version     print the version; -V with status 1

options:
  -P                of -D and -F: policies
  -p                of -D: policies with their ports; of files: with those of ESP in UDP
  -N                of -D: no policies of sockets
  -l                of -D: print again and again, in a short form
  -a                of -D: dead SAs too, of which Linux has none
  -n                do nothing: read a file to its end, and say what is wrong with it
  -v                print the messages that are sent and received
  -H                print them as hexadecimal numbers
  -r                an in policy is for forwarded packets, too, as is the default
  -k                an in policy is for packets to this host alone
  -g, -t            policies of a scope, as FreeBSD has them: taken, without effect
  --strict          status 1 where the kernel refuses a statement
  --as-read         carry out each statement as it is read, before the rest is
  --json            of -D, -x and files: JSON; see kamexfrm-json(7)
  --nokeys          of -D and files: no keys
  --no-wrap         of -D: an SA's key in one line
  --netns NAME      act in this network namespace; a path or a process also names one
"""
