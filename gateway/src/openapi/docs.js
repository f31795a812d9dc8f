// Shows /openapi.json. Everything is put in as text: nothing of the document is ever read as HTML.
'use strict';

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const child of children.flat(Infinity)) if (child !== undefined && child !== null) element.append(child);
  return element;
};

// Text with `code` in it.
const words = (text) => (text || '').split('`').map((part, at) => (at % 2 ? make('code', {}, part) : part));

const named = (reference) => reference.split('/').pop();

const kind = (schema) => {
  if (!schema || schema === true) return 'anything';
  if (schema.$ref) return named(schema.$ref);
  if (schema.allOf) return schema.allOf.map(kind).filter((name) => name !== 'anything').join(' and ');
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(kind).join(' or ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  const types = [schema.type || 'anything'].flat();
  return types.map((type) => (type === 'array' ? 'list of ' + kind(schema.items) : type + (schema.format ? ` (${schema.format})` : ''))).join(' or ');
};

const members = (schema, schemas, depth = 0) => {
  if (!schema || depth > 4) return null;
  if (schema.$ref) return members(schemas[named(schema.$ref)], schemas, depth);
  if (schema.type === 'array') return members(schema.items, schemas, depth + 1);
  if (!schema.properties || !Object.keys(schema.properties).length) return null;
  const required = new Set(schema.required || []);
  return make('dl', { class: 'members' }, Object.entries(schema.properties).map(([name, member]) => [
    make('dt', {}, make('code', {}, name), ' ', make('small', {}, kind(member) + (required.has(name) ? ', required' : ''))),
    make('dd', {}, words(member.description), member.$ref || member.items ? members(member, schemas, depth + 1) : null),
  ]));
};

const answer = ([status, response], schemas) => {
  const [media, content] = Object.entries(response.content || {})[0] || [];
  const refused = media === 'application/problem+json';
  const lines = refused ? response.description.split('\n') : [response.description];
  const shown = lines.length > 1 ? make('ul', {}, lines.map((line) => make('li', {}, words(line)))) : make('p', {}, words(lines[0]));
  return make('details', { class: 'answer s' + status[0] },
    make('summary', {}, make('b', {}, status), ' ', make('span', {}, lines.length > 1 ? `${lines.length} codes` : words(lines[0])), ' ', make('small', {}, media || 'no body')),
    shown, refused || !content ? null : members(content.schema, schemas));
};

const operation = (path, method, told, schemas) => {
  const secured = (told.security || []).length;
  const roles = told['x-roles'] ? ' of ' + told['x-roles'].join(' or ') : '';
  const body = told.requestBody;
  const [media, content] = Object.entries(body ? body.content : {})[0] || [];
  const section = make('section', { id: told.operationId, class: 'operation' },
    make('h3', {}, make('span', { class: 'method ' + method }, method.toUpperCase()), ' ', make('code', {}, path), ' ', make('span', { class: 'summary' }, told.summary)),
    told.description ? make('p', {}, words(told.description)) : null,
    make('p', { class: 'access' }, secured ? `Needs an access token${roles}: as bearer or, in a browser, by cookie.` : 'Needs no token beforehand.'));
  if (told.parameters) {
    section.append(make('h4', {}, 'Parameters'), make('dl', { class: 'members' }, told.parameters.map((one) => [
      make('dt', {}, make('code', {}, one.name), ' ', make('small', {}, `${kind(one.schema)}, in the ${one.in}${one.required ? ', required' : ''}`)),
      make('dd', {}, words(one.description)),
    ])));
  }
  if (body) {
    section.append(make('h4', {}, 'Body ', make('small', {}, Object.keys(body.content).join(', ') + (body.required ? '' : ', optional'))), members(content.schema, schemas) || make('p', {}, media));
  }
  section.append(make('h4', {}, 'Answers'), ...Object.entries(told.responses).map((one) => answer(one, schemas)));
  section.dataset.words = [path, method, told.operationId, told.summary, told.description, JSON.stringify(told.responses)].join(' ').toLowerCase();
  return section;
};

const show = (api) => {
  const schemas = api.components.schemas;
  document.getElementById('about').append(...words(api.info.description));
  document.getElementById('version').append('version ' + api.info.version);
  const groups = new Map(api.tags.map((tag) => [tag.name, []]));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, told] of Object.entries(methods)) {
      groups.get(told.tags[0]).push([path, method, told]);
    }
  }
  const main = document.getElementById('paths');
  const contents = document.getElementById('contents');
  main.replaceChildren();
  for (const [tag, all] of groups) {
    main.append(make('h2', {}, tag), ...all.map(([path, method, told]) => operation(path, method, told, schemas)));
    contents.append(make('h2', {}, tag), make('ul', {}, all.map(([path, method, told]) =>
      make('li', {}, make('a', { href: '#' + told.operationId }, make('span', { class: 'method ' + method }, method.toUpperCase()), ' ', path)))));
  }
  document.getElementById('find').addEventListener('input', (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const section of main.querySelectorAll('.operation')) section.hidden = !section.dataset.words.includes(wanted);
  });
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
};

fetch('/openapi.json').then((response) => response.json()).then(show).catch((error) => {
  document.getElementById('wait').textContent = 'The document could not be read: ' + error;
});
