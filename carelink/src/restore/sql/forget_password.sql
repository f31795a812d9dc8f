-- $1 id. Nobody can sign in until another one is set.
UPDATE users SET password_hash = '!', password_form = 'raw', cost_class = NULL, password_set_here = true WHERE id = $1;
