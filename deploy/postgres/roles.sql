-- CareLink's schemas and roles: per service a schema, an owner who migrates it, and a runtime role that may only do what the
-- service does. To be run by a superuser in a database that is CareLink's alone; running it again changes nothing.
--
--     createdb carelink
--     psql -v ON_ERROR_STOP=1 -d carelink -f roles.sql
--     psql -d carelink -c '\password carelink_token'        likewise the other five
--     carelink migrate                                      as the owners; grants come with the migrations
--
-- No role may do what its service does not: no tables of another service, no DDL at run time, and the trail's role can neither
-- change nor delete an event. The settings below reach every connection, through a pooler too.
DO $$
DECLARE
    service text;
    role    text;
BEGIN
    FOREACH service IN ARRAY ARRAY['auth', 'token', 'audit'] LOOP
        FOREACH role IN ARRAY ARRAY['carelink_' || service, 'carelink_' || service || '_owner'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                BEGIN
                    EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL; -- made meanwhile, for another database of this cluster
                END;
            END IF;
        END LOOP;
    END LOOP;
END $$;

DO $$
DECLARE
    service text;
    runtime text;
    owner   text;
    role    text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    FOREACH service IN ARRAY ARRAY['auth', 'token', 'audit'] LOOP
        runtime := 'carelink_' || service;
        owner := runtime || '_owner';
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', runtime, owner);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', runtime);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', runtime, runtime);
        FOREACH role IN ARRAY ARRAY[runtime, owner] LOOP
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', role, current_database(), runtime);
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET timezone = ''UTC''', role, current_database());
        END LOOP;
        -- Below the five seconds that a refresh has, and never a lock held by somebody who has gone.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET statement_timeout = ''4s''', runtime, current_database());
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET lock_timeout = ''3s''', runtime, current_database());
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET idle_in_transaction_session_timeout = ''5s''', runtime, current_database());
        -- Nobody waits any more for whom the connection is gone: its statement ends within a second.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET client_connection_check_interval = ''1s''', runtime, current_database());
        -- One plan per statement: none of ours is better planned for its arguments, and planning costs more than running.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET plan_cache_mode = force_generic_plan', runtime, current_database());
        -- A migration that finds its table locked gives up instead of holding up everybody behind it.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET lock_timeout = ''10s''', owner, current_database());
    END LOOP;
END $$;
