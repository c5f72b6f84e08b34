CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE agents (
	id VARCHAR(36) NOT NULL, 
	secret_hash BLOB NOT NULL, 
	session BIGINT NOT NULL, 
	host_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	pool VARCHAR NOT NULL, 
	slots INTEGER NOT NULL, 
	handlers VARCHAR NOT NULL, 
	labels VARCHAR NOT NULL, 
	software_version VARCHAR NOT NULL, 
	first_seen_at BIGINT NOT NULL, 
	last_seen_at BIGINT NOT NULL, 
	"left" BOOLEAN NOT NULL, cordon VARCHAR DEFAULT '' NOT NULL, host_since BIGINT DEFAULT 0 NOT NULL, resources VARCHAR DEFAULT '{}' NOT NULL, type_limits VARCHAR DEFAULT '{}' NOT NULL, drained_at BIGINT, drain_deadline BIGINT, drain_note VARCHAR DEFAULT '' NOT NULL, features VARCHAR DEFAULT '[]' NOT NULL, plan_limit BIGINT DEFAULT 3 NOT NULL, 
	CONSTRAINT pk_agents PRIMARY KEY (id)
);
CREATE TABLE attempts (
	task_key INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	agent_id VARCHAR NOT NULL, 
	session BIGINT NOT NULL, 
	sent_at BIGINT NOT NULL, 
	started_at BIGINT, 
	containment VARCHAR DEFAULT '' NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	ended_at BIGINT NOT NULL, 
	sent_revision BIGINT DEFAULT 0 NOT NULL, 
	started_revision BIGINT DEFAULT 0 NOT NULL, 
	ended_revision BIGINT DEFAULT 0 NOT NULL, lease_ms BIGINT, stop_reason VARCHAR, stop_message VARCHAR DEFAULT '' NOT NULL, stop_asked_at BIGINT, cancelling_revision BIGINT DEFAULT 0 NOT NULL, ready_at BIGINT, ready_revision BIGINT DEFAULT 0 NOT NULL, failure VARCHAR, "plan" VARCHAR, 
	CONSTRAINT pk_attempts PRIMARY KEY (task_key, number)
)
 WITHOUT ROWID

;
CREATE TABLE audit (
	sequence INTEGER NOT NULL, 
	time BIGINT NOT NULL, 
	previous BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	entries VARCHAR NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (sequence)
);
CREATE TABLE events (
	last_revision INTEGER NOT NULL, 
	first_revision BIGINT NOT NULL, 
	time BIGINT NOT NULL, 
	block BLOB NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (last_revision)
);
CREATE TABLE meta (
	one INTEGER NOT NULL, 
	cluster_id VARCHAR(36) NOT NULL, 
	start_number BIGINT NOT NULL, 
	control_ms BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	last_key BIGINT NOT NULL, 
	commits BIGINT NOT NULL, committed_at BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY (one)
);
CREATE TABLE task_results (
	task_key INTEGER NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	reason VARCHAR NOT NULL, 
	exit_code BIGINT, 
	signal BIGINT, 
	output BLOB NOT NULL, 
	error_category VARCHAR, 
	error_message VARCHAR, 
	run_seconds FLOAT NOT NULL, 
	cpu_seconds FLOAT NOT NULL, 
	max_rss_bytes BIGINT NOT NULL, 
	stdout_total BIGINT, 
	stderr_total BIGINT, 
	tree_gone BOOLEAN NOT NULL, attempt BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_task_results PRIMARY KEY (task_key)
);
CREATE TABLE task_specs (
	task_key INTEGER NOT NULL, 
	payload BLOB NOT NULL, 
	metadata VARCHAR, 
	execution VARCHAR(16), 
	timeout_ms BIGINT, 
	queue_timeout_ms BIGINT, 
	scheduled_at BIGINT, 
	delay_ms BIGINT, traceparent VARCHAR, retry_of VARCHAR(36), lock VARCHAR, retry VARCHAR, start_timeout_ms BIGINT, total_timeout_ms BIGINT, more VARCHAR, 
	CONSTRAINT pk_task_specs PRIMARY KEY (task_key)
);
CREATE TABLE tasks (
	"key" INTEGER NOT NULL, 
	id VARCHAR(36) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason VARCHAR DEFAULT '' NOT NULL, 
	message VARCHAR DEFAULT '' NOT NULL, 
	type VARCHAR NOT NULL, 
	pool VARCHAR NOT NULL, 
	priority INTEGER NOT NULL, 
	execution VARCHAR(16) NOT NULL, 
	caller VARCHAR NOT NULL, 
	rank BIGINT DEFAULT 0 NOT NULL, 
	due_at BIGINT, 
	ready_at BIGINT, 
	queue_deadline BIGINT, 
	attempt BIGINT, 
	fence BIGINT, 
	agent_id VARCHAR, 
	session BIGINT, 
	sent_at BIGINT, 
	started_at BIGINT, 
	containment VARCHAR DEFAULT '' NOT NULL, 
	grants BIGINT DEFAULT 0 NOT NULL, 
	losses BIGINT DEFAULT 0 NOT NULL, 
	stop_reason VARCHAR, 
	stop_message VARCHAR DEFAULT '' NOT NULL, 
	stop_grace_ms BIGINT, 
	stop_asked_at BIGINT, 
	finished_at BIGINT, 
	may_have_run BOOLEAN DEFAULT 0 NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	created_revision BIGINT DEFAULT 0 NOT NULL, 
	scheduled_revision BIGINT DEFAULT 0 NOT NULL, 
	ready_revision BIGINT DEFAULT 0 NOT NULL, 
	sent_revision BIGINT DEFAULT 0 NOT NULL, 
	started_revision BIGINT DEFAULT 0 NOT NULL, 
	cancelling_revision BIGINT DEFAULT 0 NOT NULL, 
	idempotency_key VARCHAR, 
	idempotency_digest BLOB, lease_ms BIGINT, deaths BIGINT DEFAULT 0 NOT NULL, lock VARCHAR DEFAULT '' NOT NULL, failures BIGINT DEFAULT 0 NOT NULL, retry_at BIGINT, total_deadline BIGINT, needs VARCHAR DEFAULT '' NOT NULL, holds VARCHAR, extension VARCHAR, unique_key VARCHAR, fairness_key VARCHAR DEFAULT '' NOT NULL, fair_tag BIGINT, workspace VARCHAR DEFAULT '' NOT NULL, "plan" VARCHAR, 
	CONSTRAINT pk_tasks PRIMARY KEY ("key"), 
	CONSTRAINT uq_tasks_id UNIQUE (id)
);
CREATE INDEX ix_tasks_agent ON tasks (agent_id, "key") WHERE agent_id IS NOT NULL;
CREATE INDEX ix_tasks_due ON tasks (due_at, "key") WHERE status = 'scheduled';
CREATE INDEX ix_tasks_expiring ON tasks (status, queue_deadline, "key") WHERE status = 'pending' AND queue_deadline IS NOT NULL;
CREATE INDEX ix_tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_tasks_idempotency_age ON tasks (created_at) WHERE idempotency_key IS NOT NULL;
CREATE INDEX ix_tasks_pool ON tasks (pool, "key");
CREATE INDEX ix_tasks_status ON tasks (status, "key", pool) WHERE status <> 'completed';
CREATE INDEX ix_tasks_type ON tasks (type, "key");
CREATE UNIQUE INDEX uq_tasks_idempotency ON tasks (caller, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE task_labels (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	task_key INTEGER NOT NULL, 
	CONSTRAINT pk_task_labels PRIMARY KEY (name, value, task_key)
)
 WITHOUT ROWID

;
CREATE TABLE agent_sessions (
	agent_id VARCHAR NOT NULL, 
	number BIGINT NOT NULL, 
	connected_at BIGINT NOT NULL, 
	disconnected_at BIGINT, 
	reason VARCHAR(16) DEFAULT '' NOT NULL, 
	software_version VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_agent_sessions PRIMARY KEY (agent_id, number)
)
 WITHOUT ROWID

;
CREATE INDEX ix_agent_sessions_open ON agent_sessions (agent_id) WHERE disconnected_at IS NULL;
CREATE INDEX ix_agent_sessions_ended ON agent_sessions (disconnected_at) WHERE disconnected_at IS NOT NULL;
CREATE TABLE task_spans (
	span INTEGER NOT NULL, 
	earliest BIGINT NOT NULL, 
	latest BIGINT NOT NULL, 
	first_id VARCHAR(36) NOT NULL, 
	last_id VARCHAR(36) NOT NULL, 
	CONSTRAINT pk_task_spans PRIMARY KEY (span)
);
CREATE TABLE statistics (
	span_ms BIGINT NOT NULL, 
	start BIGINT NOT NULL, 
	series BIGINT NOT NULL, 
	type VARCHAR NOT NULL, 
	pool VARCHAR NOT NULL, 
	agent_id VARCHAR NOT NULL, 
	counts VARCHAR NOT NULL, 
	CONSTRAINT pk_statistics PRIMARY KEY (span_ms, start, series, type, pool, agent_id)
)
 WITHOUT ROWID

;
CREATE TABLE holds (
	"key" VARCHAR NOT NULL, 
	place INTEGER NOT NULL, 
	task_key BIGINT NOT NULL, 
	CONSTRAINT pk_holds PRIMARY KEY ("key", place)
)
 WITHOUT ROWID

;
CREATE INDEX ix_holds_task_key ON holds (task_key);
CREATE TABLE task_remarks (
	task_key INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	at BIGINT NOT NULL, 
	text VARCHAR DEFAULT '' NOT NULL, 
	"by" VARCHAR DEFAULT '' NOT NULL, 
	attempt BIGINT DEFAULT 0 NOT NULL, 
	agent_id VARCHAR DEFAULT '' NOT NULL, 
	told VARCHAR DEFAULT '' NOT NULL, priority BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_task_remarks PRIMARY KEY (task_key, revision)
)
 WITHOUT ROWID

;
CREATE TABLE late_results (
	task_key INTEGER NOT NULL, 
	attempt BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	agent_id VARCHAR NOT NULL, 
	at BIGINT NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	exit_code BIGINT, 
	message VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_late_results PRIMARY KEY (task_key, attempt, fence)
)
 WITHOUT ROWID

;
CREATE INDEX ix_tasks_retrying ON tasks (retry_at, "key") WHERE status = 'scheduled' AND retry_at IS NOT NULL;
CREATE INDEX ix_tasks_limited ON tasks (total_deadline, "key") WHERE finished_at IS NULL AND total_deadline IS NOT NULL;
CREATE INDEX ix_tasks_waiting ON tasks (status, pool, type, needs, rank, "key", priority) WHERE status = 'pending';
CREATE INDEX ix_tasks_lock ON tasks (lock, pool, type, needs, rank, "key") WHERE status = 'pending' AND lock <> '';
CREATE INDEX ix_tasks_fair ON tasks (status, pool, fairness_key, fair_tag) WHERE status = 'pending' AND fairness_key <> '';
CREATE UNIQUE INDEX uq_tasks_unique ON tasks (unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX ix_tasks_workspace ON tasks (workspace, "key") WHERE workspace <> '';
CREATE INDEX ix_tasks_at_work ON tasks (workspace) WHERE workspace <> '' AND finished_at IS NULL;
CREATE TABLE task_keys (
	"key" VARCHAR NOT NULL, 
	pool VARCHAR NOT NULL, 
	type VARCHAR NOT NULL, 
	needs VARCHAR NOT NULL, 
	rank BIGINT NOT NULL, 
	task_key BIGINT NOT NULL, 
	CONSTRAINT pk_task_keys PRIMARY KEY ("key", pool, type, needs, rank, task_key)
)
 WITHOUT ROWID

;
CREATE INDEX ix_task_keys_task_key ON task_keys (task_key);
CREATE TABLE limits (
	"key" VARCHAR NOT NULL, 
	most BIGINT NOT NULL, 
	set_at BIGINT NOT NULL, 
	CONSTRAINT pk_limits PRIMARY KEY ("key")
)
 WITHOUT ROWID

;
CREATE TABLE rates (
	"key" VARCHAR NOT NULL, 
	place INTEGER NOT NULL, 
	since BIGINT NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_rates PRIMARY KEY ("key", place)
)
 WITHOUT ROWID

;
CREATE INDEX ix_rates_until ON rates (until);
CREATE TABLE workspaces (
	name VARCHAR NOT NULL, 
	pool VARCHAR NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, execution VARCHAR(16), 
	CONSTRAINT pk_workspaces PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE answers (
	caller VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	digest BLOB NOT NULL, 
	answer VARCHAR NOT NULL, 
	answered_at BIGINT NOT NULL, 
	CONSTRAINT pk_answers PRIMARY KEY (caller, "key")
)
 WITHOUT ROWID

;
CREATE INDEX ix_answers_answered_at ON answers (answered_at);
CREATE TABLE blobs (
	sha256 VARCHAR(64) NOT NULL, 
	workspace VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	used_at BIGINT NOT NULL, 
	CONSTRAINT pk_blobs PRIMARY KEY (sha256, workspace)
)
 WITHOUT ROWID

;
CREATE INDEX ix_blobs_workspace ON blobs (workspace, sha256, size);
CREATE INDEX ix_blobs_used_at ON blobs (used_at);
CREATE TABLE artifacts (
	task_key BIGINT NOT NULL, 
	name VARCHAR NOT NULL, 
	attempt BIGINT NOT NULL, 
	workspace VARCHAR NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, revision BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_artifacts PRIMARY KEY (task_key, name, attempt)
)
 WITHOUT ROWID

;
CREATE INDEX ix_artifacts_blob ON artifacts (sha256, workspace);
CREATE TABLE workspace_states (
	workspace VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	task_id VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_workspace_states PRIMARY KEY (workspace, version)
)
 WITHOUT ROWID

;
CREATE INDEX ix_tasks_applying ON tasks (status, pool, type, needs, rank, "key") WHERE status = 'apply_pending';
CREATE INDEX ix_tasks_planned ON tasks ("key") WHERE plan IS NOT NULL;
CREATE INDEX ix_tasks_planned_expiring ON tasks (queue_deadline, "key") WHERE plan IS NOT NULL AND finished_at IS NULL;
CREATE TABLE pauses (
	scope VARCHAR NOT NULL, 
	since BIGINT NOT NULL, 
	"by" VARCHAR DEFAULT '' NOT NULL, 
	reason VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_pauses PRIMARY KEY (scope)
)
 WITHOUT ROWID

;
CREATE TABLE loaded_checkpoints (
	id VARCHAR NOT NULL, 
	start_number BIGINT NOT NULL, 
	loaded_at BIGINT NOT NULL, 
	as_waiting BOOLEAN NOT NULL, 
	is_revived BOOLEAN NOT NULL, 
	CONSTRAINT pk_loaded_checkpoints PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO alembic_version (version_num) VALUES ('tasks_0011');
