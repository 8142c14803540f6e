{% autoescape off %}(function () {
  "use strict";
  var form = {{ form }};
  var script = document.currentScript;
  var types = { text: "text", email: "email", phone: "tel", number: "number", checkbox: "checkbox" };

  function make(tag, values, parent) {
    var element = document.createElement(tag);
    Object.keys(values).forEach(function (name) { element[name] = values[name]; });
    if (parent) parent.appendChild(element);
    return element;
  }

  var element = make("form", { className: "headrace-form", method: "post", action: form.submitUrl });
  form.fields.forEach(function (field) {
    var label = make("label", { textContent: field.label }, element);
    var input = field.type === "select" ? make("select", {}, label) : make("input", { type: types[field.type] }, label);
    input.name = field.name;
    input.required = field.required;
    if (field.type === "number") input.step = "any";
    if (field.type === "select") {
      if (!field.required) make("option", { value: "", textContent: "" }, input);
      field.options.forEach(function (one) { make("option", { value: one, textContent: one }, input); });
    }
  });
  // A trap for machines: no person sees it or comes to it by the keyboard.
  var trap = make("input", { name: form.trap, type: "text", tabIndex: -1, autocomplete: "off" }, element);
  trap.setAttribute("aria-hidden", "true");
  trap.style.cssText = "position:absolute;left:-9999px";
  make("button", { type: "submit", textContent: "Send" }, element);
  var told = make("p", { className: "headrace-told" }, element);
  told.setAttribute("role", "status");

  element.addEventListener("submit", function (event) {
    event.preventDefault();
    var answers = {};
    Array.prototype.forEach.call(element.elements, function (input) {
      if (input.name) answers[input.name] = input.type === "checkbox" ? input.checked : input.value;
    });
    fetch(form.submitUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(answers)
    }).then(function (answer) {
      return answer.json().then(function (body) {
        if (!answer.ok) throw body;
        if (form.redirectUrl) { window.location.assign(form.redirectUrl); return; }
        element.replaceChildren();
        make("p", { className: "headrace-told", textContent: "Thank you." }, element);
      });
    }).catch(function (body) {
      var details = (body && body.details) || {};
      var faults = Object.keys(details).map(function (name) { return name + ": " + details[name].join(" "); });
      told.textContent = faults.join(" ") || (body && body.error) || "It could not be sent. Please try again.";
    });
  });
  script.parentNode.insertBefore(element, script.nextSibling);
})();
{% endautoescape %}
