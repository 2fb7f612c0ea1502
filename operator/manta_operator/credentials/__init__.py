"""What is in a cluster's Secrets, and when something of it must be made anew. Pure: the time and randomness are passed in.

One Secret, the authority's, is the truth about authority and tokens: its name is the lock, and it is made alone and first. All others
are made from it, and made again from it when somebody changes or deletes them; if it is itself deleted, from what they still hold.

- `content`: which files are in which Secret, and how one is read.
- `making`: randomness: keys and tokens.
- `authority`: the truth: which roots and tokens there are, and which are coming and going.
- `rotation`: how one comes and the other goes, without a moment in which two who should trust each other do not.
- `given`: authorities and tokens that the user brings, and what can be wrong with them.
- `leaves`: when a certificate is due.
- `decide`: all of it: Secrets that exist, cluster and time in; what to create and update, what is wrong and when to look again out.
- `access`: what the operator itself shows to a cluster.
"""
