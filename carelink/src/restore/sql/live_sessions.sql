SELECT id, subject, events FROM session WHERE ended_at IS NULL;
