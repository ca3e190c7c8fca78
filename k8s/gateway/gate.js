// The gateway's decisions, run by njs in NGINX: who may come in, and which model a request is for.
//
// `keys` is keys.json: sha256 of a key -> its name, its models (null: every one), when it ends (milliseconds since 1970; 0: never),
// and how many requests a minute this pod lets it make (perMinute; none: no limit).
// A key that has ended is refused at that moment, without a reload.
// `models` is models.json: each name, alias or adapter that a request may ask for -> the model that serves it.
// `adapters` is adapters.json: those names that vLLM knows itself, which stay in the body.
import crypto from 'crypto';

// of this gateway, not of a model: OpenAI's list has to name a time
const STARTED = Math.floor(Date.now() / 1000);
const MINUTE = 60000; // milliseconds

function bearer(r) {
  const given = /^Bearer +(\S+) *$/i.exec(r.headersIn['Authorization'] || '');
  return given ? given[1] : '';
}

// The entry of the request's key; undefined where there is none, or it has ended.
function entry(r) {
  const given = bearer(r);
  const found = given ? keys[crypto.createHash('sha256').update(given).digest('hex')] : undefined;
  return found && (!found.expires || Date.now() < found.expires) ? found : undefined;
}

function mayUse(found, model) {
  return found.models === null || found.models[model] === true;
}

// 200, 401 (no key that is valid), 403 (not for the model of the request's path) or 429 (over the key's limit).
// Decided once a request: it counts.
function access(r) {
  if (!r.variables.admitted) {
    r.variables.admitted = admit(r);
  }
  return r.variables.admitted;
}

function admit(r) {
  const found = entry(r);
  if (!found) {
    return '401';
  }
  const model = r.variables.route_model;
  if (model && !mayUse(found, model)) {
    return '403';
  }
  if (!found.perMinute || r.method !== 'POST') {
    return '200';
  }
  const wait = waitOf(found, Date.now() / MINUTE);
  if (wait > 0) {
    r.variables.retry_after = String(Math.floor(wait * 60) + 1);
    return '429';
  }
  return '200';
}

// Minutes until the key's limit lets a request pass; 0: now, and it is counted. `now`: minutes since 1970.
// Counted: the requests of this minute, and those of the last one by the part of it that lies within 60 seconds. What is refused
// is not counted, so a client that asks on gets what its key allows.
function waitOf(found, now) {
  const counts = ngx.shared.rates;
  const minute = Math.floor(now);
  const part = now - minute;
  const before = counts.get(`${found.name} ${minute - 1}`) || 0;
  const key = `${found.name} ${minute}`;
  const count = counts.incr(key, 1, 0);
  const most = found.perMinute;
  if (count + Math.floor(before * (1 - part)) <= most) {
    return 0;
  }
  counts.incr(key, -1, 0);
  if (count <= most) {
    return 1 - (most - count + 1) / before - part;
  }
  return 1 - part + Math.max(0, 1 - most / (count - 1));
}

// The body of an answer that refuses, as OpenAI's API writes it.
function refusal(r) {
  if (r.variables.access === '403') {
    return noAccess(r.variables.route_model);
  }
  if (r.variables.access === '429') {
    return overLimit(r.variables.retry_after);
  }
  return bearer(r)
    ? error('Incorrect API key provided: it is unknown, revoked or expired.', 'invalid_api_key')
    : error('You did not provide an API key: send it as Authorization: Bearer KEY.', null);
}

// OpenAI's own words and fields for a limit of requests: `type` names what is limited (openai/openai-dotnet#404).
function overLimit(seconds) {
  const message = `Rate limit reached for this API key on requests per min (RPM). Please try again in ${seconds}s.`;
  return JSON.stringify({ error: { message, type: 'requests', param: null, code: 'rate_limit_exceeded' } });
}

function noAccess(model) {
  return error(`This API key does not have access to model \`${model}\`.`, 'model_not_found');
}

function unknown(model) {
  return error(`The model \`${model}\` does not exist.`, 'model_not_found');
}

function error(message, code) {
  return JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code } });
}

function keyName(r) {
  const found = entry(r);
  return found ? found.name : '-';
}

// Send a request on to the model that its body names. Its key has been let in; the body is read by now.
function route(r) {
  const text = r.requestText || '';
  let asked;
  try {
    asked = JSON.parse(text);
  } catch (e) {
    return answer(r, 400, error('The body of the request is not JSON.', null));
  }
  const name = asked && asked.model;
  if (typeof name !== 'string') {
    return answer(r, 400, error('The body of the request names no model.', null));
  }
  const model = servedBy(name);
  const found = entry(r);
  if (!model) {
    return answer(r, 404, unknown(name));
  }
  if (!found) {
    return answer(r, 401, refusal(r)); // it ended while the body came
  }
  if (!mayUse(found, model)) {
    return answer(r, 403, noAccess(name));
  }
  r.variables.asked_model = model;
  if (name === model || adapters[name] === true) {
    return r.internalRedirect(`@${model}`);
  }
  const renamed = withModel(text, name, model);
  if (renamed === undefined) {
    return answer(r, 400, error('The name of the model is written with escapes.', null));
  }
  r.variables.renamed_body = renamed;
  return r.internalRedirect(`@${model}.renamed`);
}

// The model behind a name or an alias; undefined for what JavaScript's objects have besides.
function servedBy(name) {
  const model = models[name];
  return typeof model === 'string' ? model : undefined;
}

// The body with another value of its own `model`, and every other byte as it was: parsed and written again, large numbers would
// be others. What looks like it inside of something else is told by reading the result.
function withModel(text, name, model) {
  const quoted = JSON.stringify(name);
  for (let at = text.indexOf('"model"'); at >= 0; at = text.indexOf('"model"', at + 1)) {
    const before = /^"model"\s*:\s*/.exec(text.slice(at, at + 200));
    const start = at + (before ? before[0].length : 0);
    if (before && text.slice(start, start + quoted.length) === quoted) {
      const changed = text.slice(0, start) + JSON.stringify(model) + text.slice(start + quoted.length);
      if (JSON.parse(changed).model === model) {
        return changed;
      }
    }
  }
  return undefined;
}

// GET /v1/models and /v1/models/NAME: what the key may use, aliases among them.
function list(r) {
  const found = entry(r);
  if (!found) {
    return answer(r, 401, refusal(r));
  }
  const one = decodeURIComponent(r.uri).replace(/^\/v1\/models\/?/, '');
  if (one) {
    const model = servedBy(one);
    return model && mayUse(found, model)
      ? answer(r, 200, JSON.stringify(described(one)))
      : answer(r, 404, unknown(one));
  }
  const names = Object.keys(models).filter((name) => mayUse(found, models[name])).sort();
  return answer(r, 200, JSON.stringify({ object: 'list', data: names.map(described) }));
}

function described(name) {
  const parent = adapters[name] === true ? models[name] : null;
  return { id: name, object: 'model', created: STARTED, owned_by: 'slipway', root: models[name], parent };
}

function answer(r, status, body) {
  r.headersOut['Content-Type'] = 'application/json';
  r.return(status, body);
}

export default { access, refusal, keyName, route, list };
