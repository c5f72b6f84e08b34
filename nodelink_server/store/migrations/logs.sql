CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE log_chunks (
	"key" INTEGER NOT NULL, 
	task_key BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	stream VARCHAR(8) NOT NULL, 
	"offset" BIGINT NOT NULL, 
	position BIGINT NOT NULL, 
	gap BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_log_chunks PRIMARY KEY ("key")
);
CREATE INDEX ix_log_chunks_stream ON log_chunks (task_key, attempt, stream, "offset");
CREATE UNIQUE INDEX uq_log_chunks_position ON log_chunks (task_key, attempt, position);
CREATE TABLE origin (
	cluster_id VARCHAR(36) NOT NULL, 
	CONSTRAINT pk_origin PRIMARY KEY (cluster_id)
);
INSERT INTO alembic_version (version_num) VALUES ('logs_0001');
