// Where the page's numbers come from: a stream of events says when a round has ended, then the present numbers are asked for.
// At most one question of a kind is under way; a large answer is asked for less often than it costs. When nothing is heard any
// more, it says so and goes on trying.

/** Pauses between questions, at least. */
const REST_MS = 1000;
/** How many times its own cost an answer is left alone for. */
const EASE = 10;
/** How long an answer may take. */
const PATIENCE_MS = 20_000;
/** A hidden page leaves its place in the stream to others after this time. */
const HIDDEN_MS = 60_000;

const RETRY_MS = { first: 2000, most: 30_000 };

/** An answer that says that there is no such module. */
export class NotFound extends Error {}

async function ask(path, signal) {
  const response = await fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]) });
  if (response.status === 404) throw new NotFound(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return { json: await response.json(), date: Date.parse(response.headers.get("date") ?? "") };
}

/** Reports `data({clusters, modules | module, nowMs})`, `missing()` and `health({stale, sinceMs})`; `sinceMs` is null before the first answer. */
export class Feed {
  #reports;
  #place = null;
  #question = null;
  #again = false;
  #restUntil = 0;
  #timer = 0;
  #source = null;
  #retryMs = RETRY_MS.first;
  #reopen = 0;
  #heardMs = null;
  #isOpen = false;
  #silenceMs = 60_000;
  #hideTimer = 0;

  constructor(reports) {
    this.#reports = reports;
  }

  start() {
    this.#open();
    setInterval(() => this.#watch(), 1000);
    document.addEventListener("visibilitychange", () => this.#visibility());
    // A page that is kept for the back button would keep one of the few connections that the browser has for a server.
    addEventListener("pagehide", () => this.#source?.close());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.#open();
    });
  }

  /** What is to be asked for from now on; null module: the overview. */
  want(place) {
    this.#place = place;
    this.#question?.abort();
    this.#question = null;
    this.#restUntil = 0;
    this.refresh();
  }

  /** Asks soon. */
  refresh() {
    if (this.#question !== null) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    const wait = this.#restUntil - Date.now();
    if (wait > 0) this.#timer = setTimeout(() => this.refresh(), wait);
    else if (!document.hidden) this.#ask();
  }

  async #ask() {
    const question = new AbortController();
    this.#question = question;
    this.#again = false;
    let cost = 0;
    try {
      const [clusters, one] = await Promise.all([
        ask("api/v1/clusters", question.signal),
        ask(this.#path(), question.signal),
      ]);
      if (question.signal.aborted) return;
      const begun = performance.now();
      this.#heard();
      this.#take(clusters, one.json);
      cost = performance.now() - begun;
    } catch (error) {
      if (question.signal.aborted) return;
      if (error instanceof NotFound) this.#reports.missing();
      else this.#lose();
    }
    this.#question = null;
    this.#restUntil = Date.now() + Math.max(REST_MS, EASE * cost);
    if (this.#again) this.refresh();
  }

  #path() {
    if (this.#place === null) return "api/v1/modules";
    const { cluster, module } = this.#place;
    return `api/v1/modules/${encodeURIComponent(cluster)}/${encodeURIComponent(module)}`;
  }

  #take(clusters, json) {
    const { date } = clusters;
    // The server's clock counts; that of this machine may be off. The header has whole seconds.
    const nowMs = Math.abs(date - Date.now()) < 2000 || Number.isNaN(date) ? Date.now() : date;
    const intervals = clusters.json.clusters.map((one) => one.interval_seconds + one.round_seconds);
    this.#silenceMs = 5000 + 3000 * Math.max(1, ...intervals);
    const data = { clusters: clusters.json.clusters, nowMs };
    if (this.#place === null) data.modules = json.modules;
    else data.module = json;
    this.#reports.data(data);
  }

  #open() {
    clearTimeout(this.#reopen);
    this.#source?.close();
    const source = new EventSource("api/v1/events");
    this.#source = source;
    source.addEventListener("round", (event) => {
      this.#isOpen = true;
      this.#retryMs = RETRY_MS.first;
      this.#heard();
      // A round of another cluster changes nothing about a module.
      if (this.#place === null || this.#place.cluster === JSON.parse(event.data).cluster) this.refresh();
    });
    source.addEventListener("error", () => {
      this.#lose();
      // It goes on by itself after a broken connection, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) this.#later();
    });
  }

  #later() {
    clearTimeout(this.#reopen);
    this.#reopen = setTimeout(() => {
      this.#open();
      this.refresh();
    }, this.#retryMs);
    this.#retryMs = Math.min(RETRY_MS.most, 2 * this.#retryMs);
  }

  #watch() {
    if (this.#source === null) return;
    if (this.#isOpen && Date.now() - this.#heardMs > this.#silenceMs) {
      this.#lose();
      this.#later();
    }
    this.#tell();
  }

  #visibility() {
    clearTimeout(this.#hideTimer);
    if (document.hidden) {
      this.#hideTimer = setTimeout(() => {
        this.#source?.close();
        this.#source = null;
        this.#isOpen = false;
      }, HIDDEN_MS);
      return;
    }
    if (this.#source === null) this.#open();
    this.refresh();
  }

  #heard() {
    this.#heardMs = Date.now();
    this.#tell();
  }

  #lose() {
    this.#isOpen = false;
    this.#tell();
  }

  #tell() {
    this.#reports.health({ stale: !this.#isOpen, sinceMs: this.#heardMs });
  }
}
