"""What is in a cluster's Secrets, and when something of it must be made anew. Pure: the time and randomness are passed in.

One Secret, the authority's, is the truth about authority and tokens: its name is the lock, and it is made alone and first. All
others are made from it, and again when somebody changes or deletes them. If it is itself deleted, it is made from them.

- `content`: which files are in which Secret, and how a Secret is read and written.
- `making`: randomness: keys and tokens.
- `certificate`: reading certificates and keys.
- `rotation`: how new roots or tokens come and old ones go, without a moment in which two who should trust each other do not.
- `authority`: the truth: roots and tokens, and how far their rotations are.
- `given`: authorities and tokens that the user brings, and what can be wrong with them.
- `leaves`: when a certificate is due.
- `recovery`: the first truth: made anew, but for what other Secrets still know.
- `derived`: every other Secret, from the truth.
- `decide`: all of it: cluster, Secrets that exist and the time in; what to create and update, and what is wrong, out.
- `access`: what the operator itself shows to a cluster.
"""
