-- $1 the incarnation. What verifiers knew of the stream counts no more; the keys are others.
UPDATE revocation_head SET incarnation = $1, keys = keys + 1;
