"use strict";
// Swagger UI over this server's own description. A key that the page / has in this tab is used here too.

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#calls",
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // it would ask another host
  onComplete: () => {
    const key = sessionStorage.getItem("headrace-key");
    if (key) ui.preauthorizeApiKey("HTTPBearer", key);
  },
});
