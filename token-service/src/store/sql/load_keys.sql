SELECT kid, purpose, sealed FROM signing_key ORDER BY purpose, rank, kid;
