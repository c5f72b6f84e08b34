// Submits a command, watches it, reads what it prints, and cancels another one.
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync("nodelink/v1/task.proto", {
  includeDirs: [process.env.NODELINK_PROTOS ?? "protos"], // the folder `protos` of the repository
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
});
const { TaskService } = grpc.loadPackageDefinition(definition).nodelink.v1;
const tasks = new TaskService(process.env.NODELINK_SERVER ?? "127.0.0.1:50051", grpc.credentials.createInsecure());

const ask = (call, request) =>
  new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    const method = tasks[call].bind(tasks);
    method(request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

const submit = async (command) => {
  const spec = { type: "shell", payload: Buffer.from(JSON.stringify({ command })) };
  const { task } = await ask("SubmitTask", { spec, idempotency_key: crypto.randomUUID() });
  return task.id;
};

const ENDS = ["completed", "failed", "timeout", "cancelled", "lost", "skipped"].map((status) => `task.${status}`);

// Tells every event of a task until its end. A stream that is cut is taken up again behind the last bookmark.
const watch = async (taskId) => {
  let bookmark = 0;
  for (;;) {
    const events = tasks.WatchTasks({ task_id: taskId, after_revision: bookmark });
    try {
      for await (const frame of events) {
        if (frame.reset) console.log("reset: read the task with GetTask");
        for (const event of frame.events) console.log(event.name);
        if (frame.events.some((event) => ENDS.includes(event.name))) return;
        bookmark = frame.bookmark;
      }
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE) throw error;
    } finally {
      events.cancel();
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
};

const main = async () => {
  const counting = await submit("for i in 1 2 3; do echo line $i; sleep 0.2; done");
  await watch(counting);
  for await (const page of tasks.ReadTaskLogs({ task_id: counting, follow: true })) {
    for (const part of page.parts) process.stdout.write(part.data);
  }

  const sleeping = await submit("sleep 600");
  await ask("CancelTask", { task_id: sleeping, reason: "not needed any more" });
  const { task } = await ask("WaitTask", { task_id: sleeping, timeout: { seconds: 20 } });
  console.log(task.status, task.reason);

  await ask("GetTask", { task_id: "no such task" }).catch((error) => {
    console.log(grpc.status[error.code], error.details);
  });
  tasks.close();
};

main();
