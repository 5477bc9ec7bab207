// An nginx with its default proxy settings: HTTP/1.0 towards courier, buffering on, nothing said about event streams.
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";

import { Process, freePort, temporaryDirectory, until } from "./process.js";

export async function startNginx(test, upstreamPort) {
  const port = await freePort();
  const directory = temporaryDirectory(test);
  const file = join(directory, "nginx.conf");
  writeFileSync(file, configuration(directory, port, upstreamPort));
  const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` };
  const server = new Process("nginx", "nginx", ["-e", "stderr", "-p", directory, "-c", file], { env: environment });
  test.after(() => server.stop());
  await until("nginx accepts a connection", 10_000, () => accepts(port), [server]);
  return `http://127.0.0.1:${port}`;
}

function configuration(directory, port, upstreamPort) {
  // Only root may change to another user, and root's directory is closed to nginx's own.
  const user = process.getuid() === 0 ? `user ${userInfo().username};` : "";
  return `
${user}
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://127.0.0.1:${upstreamPort}; }
  }
}
`;
}

function accepts(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); }).on("error", reject);
  });
}
